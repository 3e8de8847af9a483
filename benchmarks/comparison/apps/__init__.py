"""The apps, each in a server process of its own; they read from the environment what to be."""
