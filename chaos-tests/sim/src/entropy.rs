//! All randomness of a simulation follows from its seed.
//!
//! openraft draws election timeouts from `rand`'s generator of the thread, tokio shuffles the arms
//! of `select!`, hash maps have random keys, and ids of ours are random: all of them ask libc's
//! `getrandom` once per thread. This program defines that symbol itself, so that a thread which
//! was given a seed never sees any other randomness, and no code under test has to know.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's randomness follows from the seed. To be called before anything else on
/// a new thread: what was random before stays so.
pub fn seed(seed: u64) {
    STATE.set(Some(seed));
}

/// SplitMix64.
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, z ^ (z >> 31))
}

fn fill(buffer: &mut [u8]) -> bool {
    let Some(mut state) = STATE.get() else {
        return rustix::rand::getrandom(buffer, rustix::rand::GetRandomFlags::empty()).is_ok();
    };
    for chunk in buffer.chunks_mut(8) {
        let (new, number) = next(state);
        state = new;
        chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    true
}

/// In place of libc's: getrandom(2).
#[allow(
    unsafe_code,
    reason = "there is no other way to make the randomness of all libraries repeatable"
)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller of getrandom(2) hands over a buffer of this length.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    let filled = fill(buffer);
    if filled {
        isize::try_from(length).unwrap_or(-1)
    } else {
        -1
    }
}
