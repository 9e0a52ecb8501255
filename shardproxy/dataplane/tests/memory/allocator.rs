//! An allocator that counts the living bytes the proxy's own threads took, whoever gives them back.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

static LIVING: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// Bytes in use now.
pub fn living() -> isize {
    LIVING.load(Relaxed)
}

/// The most that was in use since the last call.
pub fn take_peak() -> isize {
    PEAK.swap(living(), Relaxed)
}

pub struct Counting;

/// Before every allocation stands whether it is counted.
const HEADER: usize = 16;
/// A thread is asked for its name so often before it counts as none of the proxy's: it has none at its very start.
const LOOKS: u8 = 64;

thread_local! {
    static LOOKED: Cell<u8> = const { Cell::new(0) };
}

/// Whether the proxy's code runs on this thread.
fn is_own() -> bool {
    const OWN: u8 = u8::MAX;
    let looked = LOOKED.try_with(Cell::get).unwrap_or(LOOKS);
    if looked >= LOOKS {
        return looked == OWN;
    }
    let mut name = [0u8; 16];
    // SAFETY: the buffer has the 16 bytes a name takes at most; the call allocates nothing.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let is_own = name.starts_with(b"shardproxy-");
    let _ = LOOKED.try_with(|cell| cell.set(if is_own { OWN } else { looked + 1 }));
    is_own
}

fn count(bytes: isize) {
    let now = LIVING.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(now, Relaxed);
}

fn padded(layout: Layout) -> (Layout, usize) {
    let before = HEADER.max(layout.align());
    // SAFETY: the alignment is that of a valid layout or 16; sizes near the limit do not occur here.
    (unsafe { Layout::from_size_align_unchecked(layout.size() + before, before) }, before)
}

// SAFETY: every block is one of `System` with room before it; what is given back is what was taken.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (whole, before) = padded(layout);
        let start = System.alloc(whole);
        if start.is_null() {
            return start;
        }
        let is_own = is_own();
        if is_own {
            count(layout.size() as isize);
        }
        let block = start.add(before);
        block.sub(1).write(u8::from(is_own));
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (whole, before) = padded(layout);
        if block.sub(1).read() == 1 {
            count(-(layout.size() as isize));
        }
        System.dealloc(block.sub(before), whole);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (whole, before) = padded(layout);
        let is_own = block.sub(1).read() == 1;
        let start = System.realloc(block.sub(before), whole, size + before);
        if start.is_null() {
            return start;
        }
        if is_own {
            count(size as isize - layout.size() as isize);
        }
        start.add(before)
    }
}
