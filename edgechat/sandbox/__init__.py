"""Work on untrusted bytes, in processes that are killed when the work takes too long or too much memory.

Code with such work uses `edgechat.sandbox.jobs`; the other modules are private to the package. The code inside the
sandbox imports no Django.
"""
