"""The recipe of starter-motion: clips of moving shapes, and the motion that is learned from them on top of starter-image."""
