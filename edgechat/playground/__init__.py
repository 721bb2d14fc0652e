"""The playground: a page to chat from, which uses nothing but the public API.

Everything happens in the browser (static/playground); the server's part is one page.
"""
