"""Where an intermediate entity is, where it can be read, where it is used."""
