"""The baseline: Context-Aware PoseFormer as published, the frozen network in every step."""
