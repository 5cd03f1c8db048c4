"""What happens around training steps, as Lightning callbacks."""
