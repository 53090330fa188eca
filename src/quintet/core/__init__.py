"""The words of the house: plain values and ports that every other room shares. Standard library only."""
