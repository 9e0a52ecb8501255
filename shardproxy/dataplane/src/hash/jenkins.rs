//! Bob Jenkins' lookup3 (2006, public domain): `hashlittle`.

pub fn lookup3(key: &[u8], seed: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32).wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = key;
    while rest.len() > 12 {
        let (block, behind) = rest.split_at(12);
        add(&mut state, block);
        mix(&mut state);
        rest = behind;
    }
    if !rest.is_empty() {
        let mut block = [0u8; 12];
        block[..rest.len()].copy_from_slice(rest);
        add(&mut state, &block);
        finish(&mut state);
    }
    state[2]
}

fn add(state: &mut [u32; 3], block: &[u8]) {
    let (words, _) = block.as_chunks::<4>();
    for (value, word) in state.iter_mut().zip(words) {
        *value = value.wrapping_add(u32::from_le_bytes(*word));
    }
}

fn mix(state: &mut [u32; 3]) {
    for (turn, bits) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        // a takes from c, b from a, c from b, and again
        let (here, before, after) = (turn % 3, (turn + 2) % 3, (turn + 1) % 3);
        state[here] = state[here].wrapping_sub(state[before]) ^ state[before].rotate_left(bits);
        state[before] = state[before].wrapping_add(state[after]);
    }
}

fn finish(state: &mut [u32; 3]) {
    for (turn, bits) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        // c takes from b, a from c, b from a, and so on
        let (here, before) = ((turn + 2) % 3, (turn + 1) % 3);
        state[here] = (state[here] ^ state[before]).wrapping_sub(state[before].rotate_left(bits));
    }
}

#[cfg(test)]
mod tests {
    /// From `driver5` of lookup3.c.
    #[test]
    fn known_values() {
        assert_eq!(super::lookup3(b"", 0), 0xdead_beef);
        assert_eq!(super::lookup3(b"", 0xdead_beef), 0xbd5b_7dde);
        assert_eq!(super::lookup3(b"Four score and seven years ago", 0), 0x1777_0551);
        assert_eq!(super::lookup3(b"Four score and seven years ago", 1), 0xcd62_8161);
    }
}
