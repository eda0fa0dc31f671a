"""The audit as one HTML file: the verdict, the figures, a picture, the findings."""
