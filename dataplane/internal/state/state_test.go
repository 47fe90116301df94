package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is a snapshot of so many health checks, with a last good form of one of them.
func content(n int) *snapshot.File {
	check := func(i int, interval time.Duration) *snapshot.Resource {
		return snapshot.EncodeHealthCheck("projects/p/h"+string(rune('a'+i)), &snapshot.HealthCheck{
			Type: lb.CheckTCP, Interval: interval, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1})
	}
	var wished []*snapshot.Resource
	for i := range n {
		wished = append(wished, check(i, 5*time.Second))
	}
	set := snapshot.NewSet(wished)
	return &snapshot.File{
		Version: snapshot.Version{Cluster: "c", Revision: int64(n), Digest: set.Digest()},
		Set:     set, LastGood: snapshot.NewSet([]*snapshot.Resource{check(0, 9*time.Second)}),
	}
}

func open(t *testing.T, dir string) *File {
	t.Helper()
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func save(t *testing.T, f *File, c *snapshot.File) {
	t.Helper()
	if err := f.Save(c); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func expectRevision(t *testing.T, f *File, want int64) {
	t.Helper()
	got, err := f.Load()
	if err != nil || got == nil {
		t.Fatalf("load: %v, %v", got, err)
	}
	c := content(int(want))
	if got.Version != c.Version || got.Set.Digest() != c.Set.Digest() || got.LastGood.Digest() != c.LastGood.Digest() {
		t.Errorf("loaded %v, want %v with its sets", got.Version, c.Version)
	}
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	f := open(t, dir)
	if got, err := f.Load(); got != nil || err != nil {
		t.Errorf("load of nothing: %v, %v", got, err)
	}
	save(t, f, content(1))
	save(t, f, content(3))
	expectRevision(t, f, 3)
	expectRevision(t, open(t, dir), 3)
	if got := names(t, dir); !slices.Equal(got, []string{fileName}) {
		t.Errorf("the directory has %q", got)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, fileName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode().Perm(), want, err)
		}
	}
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir)
	save(t, f, content(3))
	path := filepath.Join(dir, fileName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		flipped := slices.Clone(good)
		flipped[n] ^= 0x10
		for what, bad := range map[string][]byte{"truncated at": good[:n], "flipped at": flipped} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := f.Load(); err == nil || got != nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("%s byte %d: %v, %v, want an error that names the file", what, n, got, err)
			}
		}
	}
	save(t, f, content(2)) // a damaged file is in nobody's way
	expectRevision(t, f, 2)
}

func TestHugeFileIsNotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir)
	save(t, f, content(1))
	if err := os.Truncate(filepath.Join(dir, fileName), maxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), "more than any snapshot") {
		t.Errorf("a file of %d bytes: %v", maxFileBytes+1, err)
	}
}

func TestLeftoversOfACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	save(t, open(t, dir), content(2))
	for name, data := range map[string]string{tmpPrefix + "123": "half a sna", tmpPrefix + "4": "", "other": "stays"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expectRevision(t, open(t, dir), 2)
	if got := names(t, dir); !slices.Equal(got, []string{"other", fileName}) {
		t.Errorf("the directory has %q", got)
	}
}

func TestDirectoryOfNoUse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "dir")); err == nil {
		t.Error("a directory below a file opens")
	}
	dir := filepath.Join(t.TempDir(), "dir")
	f := open(t, dir)
	if err := os.Mkdir(filepath.Join(dir, fileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err == nil {
		t.Error("a directory loads")
	}
	if err := f.Save(content(1)); err == nil {
		t.Error("a save replaces a directory")
	}
	if got := names(t, dir); !slices.Equal(got, []string{fileName}) {
		t.Errorf("a save in vain leaves %q", got)
	}
}

// saving runs a saver whose source counts its calls; revision is what it saves.
type saving struct {
	*Saver
	changed chan struct{}
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu       sync.Mutex // guards all below
	revision int
	fault    error
	saves    []time.Duration // since the start
}

func startSaver(t *testing.T, f *File) *saving {
	began := time.Now()
	s := &saving{changed: make(chan struct{}, 1)}
	s.Saver = &Saver{
		File: f, Interval: time.Second, Logger: hclog.NewNullLogger(), Changed: s.changed,
		Source: func(ctx context.Context) (*snapshot.File, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.saves = append(s.saves, time.Since(began))
			if s.fault != nil {
				return nil, s.fault
			}
			return content(s.revision), ctx.Err()
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	s.done.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

func (s *saving) change(revision int) {
	s.mu.Lock()
	s.revision = revision
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *saving) expect(t *testing.T, at ...time.Duration) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.saves, at) {
		t.Errorf("saves at %v, want %v", s.saves, at)
	}
}

func TestSaverCoalesces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, dir)
		s := startSaver(t, f)
		time.Sleep(5 * time.Second)
		s.expect(t)
		s.change(1) // the first change is saved at once
		s.expect(t, 5*time.Second)
		expectRevision(t, f, 1)
		for i := range 20 {
			s.change(i)
			time.Sleep(10 * time.Millisecond)
		}
		s.expect(t, 5*time.Second)
		time.Sleep(3 * time.Second)
		s.expect(t, 5*time.Second, 6*time.Second)
		expectRevision(t, f, 19)
		s.stop()
		s.done.Wait()
		s.expect(t, 5*time.Second, 6*time.Second)
	})
}

func TestSaverFlushesOnStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, dir)
		s := startSaver(t, f)
		s.change(1)
		synctest.Wait()
		s.change(2)
		synctest.Wait() // the saver knows of the change, and waits for the interval
		s.stop()
		s.done.Wait()
		expectRevision(t, f, 2)
	})
}

// The last change and the stop may come together, in either order.
func TestSaverFlushesChangeThatComesWithStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			f := open(t, dir)
			save(t, f, content(1))
			s := startSaver(t, f)
			synctest.Wait()
			s.change(3)
			s.stop()
			s.done.Wait()
			expectRevision(t, f, 3)
		})
	}
}

func TestSaverTriesAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, dir)
		s := startSaver(t, f)
		var saved []error
		s.Saved = func(err error) { saved = append(saved, err) }
		s.fault = errors.New("not now")
		s.change(4)
		s.expect(t, 0)
		s.mu.Lock()
		s.fault = nil
		s.mu.Unlock()
		time.Sleep(10 * time.Second)
		s.expect(t, 0, time.Second)
		expectRevision(t, f, 4)
		s.stop()
		s.done.Wait()
		if len(saved) != 2 || saved[0] == nil || saved[1] != nil {
			t.Errorf("told of saves %v, want a fault and then success", saved)
		}
	})
}

// FuzzLoad reads whatever is in the file; what it accepts, it can write again.
func FuzzLoad(f *testing.F) {
	b, err := snapshot.MarshalFile(content(2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:40])
	f.Add([]byte{})
	dir := f.TempDir()
	file, err := Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := file.Load(); err == nil {
			save(t, file, got)
		}
	})
}
