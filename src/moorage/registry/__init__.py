"""The OCI distribution API (v2) on the AWS port, the blobs behind ECR, and the look-up of images for tasks."""
