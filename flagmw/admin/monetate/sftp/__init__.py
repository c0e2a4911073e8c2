"""Files for and from Monetate over SFTP."""
