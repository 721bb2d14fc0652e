"""Imports of conversations from exports of other programs and from the older EdgeChat.

`reading` runs in the sandbox. The URLs, the app's configuration and the command import the other modules.
"""
