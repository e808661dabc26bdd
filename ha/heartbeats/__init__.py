"""What nodes tell each other: codecs, media, path workers. Decides nothing."""
