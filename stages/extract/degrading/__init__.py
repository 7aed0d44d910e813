"""Pictures and boxes made worse by a stated amount, to see what a detector and a lifter bear."""
