"""Inside the TorchServe worker: image bytes -> decoded pixels -> engine -> ranked answers; and the archive builder."""
