"""Bytes in, bytes out: what people send is fetched, checked and made anew here before any engine sees it."""
