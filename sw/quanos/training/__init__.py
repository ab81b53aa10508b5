"""What a training run consists of around Algorithm 1 (`quanos.trainer`)."""
