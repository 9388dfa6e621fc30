"""Amazon ECR's API on top of the image registry."""
