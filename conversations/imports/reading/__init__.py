"""Readers of untrusted files, run only in `edgechat.sandbox`. They import neither Django nor code with secrets."""
