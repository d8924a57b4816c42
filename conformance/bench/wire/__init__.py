"""The wire of model APIs: one file a dialect."""
