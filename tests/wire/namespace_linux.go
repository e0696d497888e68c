// Package wire is a network of a test's own: two namespaces, and between them
// packets that are lost, late, doubled and out of order. Linux only, as root.
package wire

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Namespace is a network namespace with nothing in it but loopback. It goes
// when Close was called and the processes in it have ended.
type Namespace struct {
	work chan func()
}

// NewNamespace makes one.
func NewNamespace() (*Namespace, error) {
	ns := &Namespace{work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: nobody else is to get a thread that is elsewhere
		err := unix.Unshare(unix.CLONE_NEWNET)
		made <- err
		if err != nil {
			return
		}
		for do := range ns.work {
			do()
		}
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	return ns, nil
}

// Do runs a function in the namespace, as are processes that it starts.
func (ns *Namespace) Do(do func() error) error {
	done := make(chan error)
	ns.work <- func() { done <- do() }
	return <-done
}

// Close gives the namespace up.
func (ns *Namespace) Close() { close(ns.work) }

// mtu is that of most of the internet.
const mtu = 1500

// openTUN makes a device in the caller's namespace that is the end of a wire,
// and has loopback up beside it. What is read from the file was sent to peers
// in the prefix; what is written to it arrives.
func openTUN(name string, address netip.Prefix) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	if err := attach(fd, name, address); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("setting %s up: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func attach(fd int, name string, address netip.Prefix) error {
	device, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, device); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ip := address.Addr().As4()
	mask := netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), address.Bits()).Masked().Addr().As4()
	for _, step := range []struct {
		device  string
		request uint
		set     func(*unix.Ifreq) error
	}{
		{name, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) }},
		{name, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) }},
		{name, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
		{"lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r, err := unix.NewIfreq(step.device)
		if err == nil {
			err = step.set(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, step.request, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
