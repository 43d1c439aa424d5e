"""Where live events come from: which exist here, how a user's name for one is encoded, how they are
opened and read."""
