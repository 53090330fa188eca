"""Recipe of the starter vision model: it draws its own pictures, asks about them, trains on that, measures itself and exports."""
