"""Session Stream: sessions read line by line, with names beside ids."""
