"""Model files on disk: found, pulled, checked, converted, installed. Knows no server and no catalog files."""
