"""What commands of `quanos` share: complaints, completion, progress, code of the user's own."""
