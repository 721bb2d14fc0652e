"""Work on other people's bytes, in processes that are killed when it takes too long or too much memory.

`edgechat.sandbox.jobs` is for everybody who has such work; the rest is its own. What runs inside imports no Django.
"""
