"""Networks that give maps and no joints: any torch module, any timm backbone."""
