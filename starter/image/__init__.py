"""The recipe of starter-image: a Stable Diffusion pipeline trained from nothing on drawn scenes."""
