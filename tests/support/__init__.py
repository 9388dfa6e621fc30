"""What several test folders share: small images, a Docker socket that can be cut."""
