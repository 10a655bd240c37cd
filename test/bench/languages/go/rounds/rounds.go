// Package rounds repeats a lock and unlock in the rounds that the parent process asks for.
package rounds

import (
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Serve says which modules are measured. Then it answers each line "inFlight millis"
// with "operations millis cpuMicros", until the input ends.
func Serve(modules []string, lockAndUnlock func(name string) error) {
	fmt.Println(versions(modules))
	for {
		var inFlight int
		var millis int64
		if _, err := fmt.Scanln(&inFlight, &millis); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Println(round(inFlight, time.Duration(millis)*time.Millisecond, lockAndUnlock))
	}
}

var count atomic.Int64

func round(inFlight int, length time.Duration, lockAndUnlock func(name string) error) (operations int64, millis float64, cpuMicros int64) {
	var done atomic.Int64
	var all sync.WaitGroup
	cpu, start := cpuTime(), time.Now()
	for range inFlight {
		all.Go(func() {
			for time.Since(start) < length {
				if err := lockAndUnlock(fmt.Sprintf("bench:%d:%d", os.Getpid(), count.Add(1))); err != nil {
					log.Fatal(err)
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	elapsed := time.Since(start)
	// Time for answers that nobody waited for.
	time.Sleep(5 * time.Millisecond)
	return done.Load(), float64(elapsed.Microseconds()) / 1000, (cpuTime() - cpu).Microseconds()
}

// cpuTime is the user and system time of this process.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func versions(modules []string) string {
	texts := []string{"Go " + strings.TrimPrefix(runtime.Version(), "go")}
	info, _ := debug.ReadBuildInfo()
	for _, name := range modules {
		for _, module := range info.Deps {
			if strings.Contains(module.Path+"/", "/"+name+"/") {
				texts = append(texts, name+" "+strings.TrimPrefix(module.Version, "v"))
			}
		}
	}
	return strings.Join(texts, ", ")
}
