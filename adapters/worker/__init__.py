"""A worker: claims, holds, calls a handler, ends the attempt, and drains."""
