/** File name of NVIDIA's driver library, as the system's loader finds it. */
export function driverLibrary(): string {
  return process.platform === 'win32' ? 'nvcuda.dll' : 'libcuda.so.1'
}
