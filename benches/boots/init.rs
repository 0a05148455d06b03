//! The first program of the machines that `boots` measures: loads the modules that came with it, says hello on the
//! channel and waits.

use std::{
    ffi::{CString, c_char, c_int, c_long, c_ulong, c_void},
    fs::{self, File, OpenOptions},
    io::Write,
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

unsafe extern "C" {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

const FINIT_MODULE: c_long = 313;

fn main() {
    // SAFETY: all are strings that end in a zero.
    unsafe { mount(c"dev".as_ptr(), c"/dev".as_ptr(), c"devtmpfs".as_ptr(), 0, std::ptr::null()) };
    let mut modules: Vec<_> = fs::read_dir("/modules").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    modules.sort();
    for module in modules {
        let file = File::open(module).unwrap();
        let none = CString::default();
        // SAFETY: the descriptor is open, and the parameters are a string that ends in a zero.
        unsafe { syscall(FINIT_MODULE, file.as_raw_fd(), none.as_ptr(), 0) };
    }
    loop {
        // The first port that is no terminal has the number 1 where 0 is kept for terminals.
        for port in ["/dev/vport0p0", "/dev/vport0p1"] {
            if let Ok(mut port) = OpenOptions::new().write(true).open(port) {
                port.write_all(b"hello\n").unwrap();
                loop {
                    thread::park();
                }
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}
