"""Recipe of the starter chat model: it writes its own text, trains on it, measures itself and exports."""
