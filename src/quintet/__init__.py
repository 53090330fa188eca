"""Quintet: one self-hosted server for text, vision-language, images, animation and speech."""

__version__ = "0.1.0"
