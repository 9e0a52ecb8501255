//! An output against the simplest thing that could be right: plain bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::exchange::pool::POOLED;

/// Sizes on both sides of what a buffer keeps.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..200usize, 2 => 1..20_000usize, 1 => 60_000..300_000usize]
}

proptest! {
    #[test]
    fn an_output_writes_every_byte_once(steps in vec((size(), size()), 0..60)) {
        let (mut output, mut pool) = (Output::default(), BufferPool::default());
        let (mut appended, mut written, mut fill) = (Vec::new(), Vec::new(), 0u8);
        for (more, taken) in steps {
            fill = fill.wrapping_add(1);
            pool.lend(&mut output.bytes);
            output.bytes.extend_from_slice(&vec![fill; more]);
            appended.extend_from_slice(&vec![fill; more]);
            let n = taken.min(output.len());
            written.extend_from_slice(&output.unwritten()[..n]);
            output.advance(n, &mut pool);
            prop_assert_eq!(written.len() + output.len(), appended.len());
            prop_assert_eq!(output.is_empty(), output.bytes.capacity() == 0, "an empty output holds no buffer");
        }
        written.extend_from_slice(output.unwritten());
        prop_assert_eq!(written, appended);
        output.clear(&mut pool);
        prop_assert!(pool.bytes() <= POOLED * KEEP);
    }
}
