"""What a training may have beside its adversary: a teacher, frozen embeddings, the average of its weights."""
