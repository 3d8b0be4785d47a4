//! Times the pieces of the event path.

use criterion::{Criterion, criterion_group, criterion_main};

fn pieces(criterion: &mut Criterion) {
    for (name, make) in towline_benches::pieces() {
        let mut piece = make();
        criterion.bench_function(name, |bencher| bencher.iter(&mut piece));
    }
}

criterion_group!(benches, pieces);
criterion_main!(benches);
