//! Who comes first: by chance, from a seed that is printed, so that no side has the machine warm or tired each time.

/// A stream of numbers that the seed decides (splitmix64).
pub struct Order(u64);

impl Order {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The same, in another order.
    pub fn shuffled<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let mut all = of.to_vec();
        for last in (1..all.len()).rev() {
            let at = self.next() % (last as u64 + 1);
            all.swap(last, at as usize);
        }
        all
    }
}
