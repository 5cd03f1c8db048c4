"""One `Trainer.fit` for a whole stream: learner, data module, callbacks, checkpoints."""
