//! How often keys were asked for, in fixed memory: a count-min sketch whose counts are halved from time to time
//! (TinyLFU: Einziger, Friedman, Manes 2017).

/// Rows of the sketch: a key's estimate is the least of this many counters.
const ROWS: usize = 4;

/// Largest count.
const COUNT_MAX: u8 = 15;

/// Counters that age.
#[derive(Clone, Debug)]
pub struct Sketch {
    counters: Vec<u8>,
    mask: u64,
    additions: usize,
    additions_max: usize,
}

impl Sketch {
    /// A sketch for about `keys` different keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let width = keys.max(1024).next_power_of_two();
        Self {
            counters: vec![0; width * ROWS],
            mask: width as u64 - 1,
            additions: 0,
            additions_max: width * 8,
        }
    }

    fn places(&self, id: u64) -> [usize; ROWS] {
        let step = (id >> 32) | 1;
        let width = self.mask + 1;
        std::array::from_fn(|row| {
            let row = row as u64;
            (row * width
                + (id.wrapping_add(step.wrapping_mul(row)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
                    & self.mask)) as usize
        })
    }

    /// Counts `times` requests for `id`.
    pub fn add(&mut self, id: u64, times: u32) {
        let times = times.min(u32::from(COUNT_MAX)) as u8;
        for place in self.places(id) {
            let counter = &mut self.counters[place];
            *counter = counter.saturating_add(times).min(COUNT_MAX);
        }
        self.additions += 1;
        if self.additions >= self.additions_max {
            self.additions = 0;
            for counter in &mut self.counters {
                *counter /= 2;
            }
        }
    }

    /// How often `id` was asked for lately; never too low but for ageing.
    #[must_use]
    pub fn estimate(&self, id: u64) -> u8 {
        self.places(id).into_iter().map(|place| self.counters[place]).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_keys_stand_out_and_fade() {
        let mut sketch = Sketch::new(1024);
        let id = |n: u64| n.wrapping_mul(0xd6e8_feb8_6659_fd93);
        for n in 0..1000 {
            sketch.add(id(n), 1);
            if n % 100 == 0 {
                sketch.add(id(7), 1);
            }
        }
        assert!(sketch.estimate(id(7)) >= 10);
        let rare = (100..1000).filter(|n| sketch.estimate(id(*n)) <= 2).count();
        assert!(rare > 850, "{rare}");
        for n in 2000..30_000 {
            sketch.add(id(n % 500 + 2000), 1);
        }
        assert!(sketch.estimate(id(7)) < 15);
    }
}
