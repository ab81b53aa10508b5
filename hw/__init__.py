"""Precision-scalable hardware: generators (`hw.rtl`) and test benches (`hw.tb`)."""
