"""perf.data: files, pipes, compressed and directory recordings; read and written."""
