"""What reads other people's bytes, in `edgechat.sandbox` only. It imports neither Django nor what knows secrets."""
