"""A parser that others can use: as an MLflow model behind HTTP, and with a card that says what it is."""
