"""Parsers of untrusted bytes, run only in `edgechat.sandbox`. They import neither Django nor code with secrets."""
