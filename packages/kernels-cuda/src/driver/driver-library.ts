/** What to do about a driver that is too old. */
export const UPDATE_DRIVER = "Update NVIDIA's driver (CUDA 13.0 comes with 580)."

/** File name of NVIDIA's driver library, as the system's loader finds it. */
export function driverLibrary(): string {
  return process.platform === 'win32' ? 'nvcuda.dll' : 'libcuda.so.1'
}
