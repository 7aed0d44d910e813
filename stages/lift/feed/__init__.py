"""From a store to batches: samples, order, maps in some memory, read ahead, on the device."""
